"""A procedural street: pictures and clips with class masks, instances, lanes and exact optical flow.

The embedded default data: nothing to download, the same bytes for the same seed, any size. Volumes are
computed tomography of a belly, with a liver and its tumours.
"""

from pixelwise.data.synthetic.classes import STREET_LABELS
from pixelwise.data.synthetic.streets import demo_dataset, street, street_clip, street_dataset, write_street
from pixelwise.data.synthetic.volumes import CT_LABELS, ct_volume, volume_dataset

__all__ = [
    "CT_LABELS",
    "STREET_LABELS",
    "ct_volume",
    "demo_dataset",
    "street",
    "street_clip",
    "street_dataset",
    "volume_dataset",
    "write_street",
]
