"""Cascades: what one pipeline has found is looked at more closely by another.

The parent hands what it has found in a frame, and the frame itself, to a feed for each source of crops (`Cascade`,
`CropsFeed`) and never waits. The child chooses whom to ask its model about, and remembers what it said (`Inquiry`); a
crop is a frame with a region, so that every step after that is the same as for a whole frame. Where all of a frame's
crops have been looked at, its state is what is known of every object (`Answers`).
"""
