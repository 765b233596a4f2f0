"""Cascades: one pipeline (the child) runs its model on crops of objects that another pipeline (the parent) has found.

For each frame the parent passes the frame and its findings to the feeds of its children (`Cascade`, `CropsFeed`). The
parent never waits for a child. The child selects objects and runs its model on their crops. It stores the model's
findings about each object; these are the object's *answer* (`Inquiry`). A crop is a frame with a region, so every later
step is the same as for a whole frame. After all crops of a frame, the child's state contains the answer for every
object (`Answers`).
"""
