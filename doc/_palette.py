"""Colours of the pictures that the documentation draws, for both themes of the site.

The same values are in ``_static/site.css``: ``blue`` marks what the reader is looking
for, and ``green`` the other kind of box.
"""

THEMES = {
    "light": {
        "page": "#ffffff",
        "ink": "#1f2d3d",
        "border": "#7d93ab",
        "arrow": "#6b7f95",
        "blue": "#dbe9f6",
        "green": "#e6f2e1",
    },
    "dark": {
        "page": "#14181e",
        "ink": "#e3e9f0",
        "border": "#7188a1",
        "arrow": "#93a7bc",
        "blue": "#22405c",
        "green": "#2b4a2c",
    },
}


def picture(width, height, theme, content, font_size):
    """Return an SVG picture with a page, and an arrow's head named "head".

    Parameters
    ----------
    width, height : float
        In pixels.
    theme : dict
        One of `THEMES`.
    content : str
        Elements of SVG.
    font_size : int
        In pixels, of texts that have no other.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" font-family="sans-serif" font-size="{font_size}" '
        f'fill="{theme["ink"]}"><defs><marker id="head" viewBox="0 0 6 6" refX="1" '
        'refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L6 3L0 6z" fill="{theme["arrow"]}"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="{theme["page"]}"/>'
        f"{content}</svg>\n"
    )
