"""Cascades: one pipeline runs its model on crops of objects that another pipeline has found.

The parent passes its findings in a frame, and the frame itself, to a feed for each source of crops (`Cascade`,
`CropsFeed`) and never waits. The child selects the objects for its model and keeps the answers (`Inquiry`). A crop is a
frame with a region, so every later step is the same as for a whole frame. After all crops of a frame, the state holds
the answer for every object (`Answers`).
"""
