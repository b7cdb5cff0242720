"""A procedural street: pictures and clips with class masks, instances, lanes and exact optical flow.

The embedded default data: nothing to download, the same bytes for the same seed, any size.
"""

from pixelwise.data.synthetic.classes import STREET_LABELS
from pixelwise.data.synthetic.streets import demo_dataset, street, street_clip, street_dataset, write_street

__all__ = ["STREET_LABELS", "demo_dataset", "street", "street_clip", "street_dataset", "write_street"]
