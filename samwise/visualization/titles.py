"""Sentences as titles of figures, in scripts that matplotlib's own font lacks."""

from __future__ import annotations

import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.text import Text
from PIL import Image

from samwise.video.lettering import lettered, line_height, readable, wrap

_FINE = 4  # pixels per point


def put_title(title: Text, text: str, room: float) -> None:
    """Draws a sentence in place of a title.

    Args:
        title: An empty matplotlib title, whose font size is used.
        text: The sentence.
        room: Width in inches, at which the sentence is wrapped.
    """
    points = round(float(title.get_fontsize()) * _FINE)
    rows = [lettered(row, points, "black") for row in wrap(readable(text), points, 72 * _FINE * room)]
    picture = Image.new("RGBA", (max(row.width for row in rows), line_height(points) * len(rows)))
    for index, row in enumerate(rows):
        picture.alpha_composite(row, ((picture.width - row.width) // 2, index * line_height(points)))
    title.set_text("\n".join(" " * len(rows)))  # reserves room in the layout
    image = OffsetImage(np.asarray(picture), zoom=1 / _FINE)
    title.figure.add_artist(AnnotationBbox(image, (0.5, 0.5), xycoords=title, frameon=False))
