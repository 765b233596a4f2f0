"""Sentences for the public sentiment model."""

from __future__ import annotations

from typing import Final

SENTENCES: Final = (
    "What a waste of my time.",
    "This is the worst film of the year.",
    "The acting was awful from start to end.",
    "It was boring and I left before the end.",
    "The story is terrible and so is the music.",
    "A dull story about two people in a house.",
    "The ending was a disappointment to all of us.",
    "The plot is ridiculous from the first scene on.",
    "I found the script poorly written.",
    "The whole thing is a mess, to tell the truth.",
    "It is an excellent film about the war.",
    "The camera work is superb in this one.",
    "She is wonderful in the role of the mother.",
    "A perfect evening with my brother and his wife.",
    "The whole cast is amazing in this.",
    "It is a brilliant story of two sisters.",
    "He gives a fantastic show in the last part.",
    "I loved it, and so did my father.",
    "One of the great films of the fifties, my favorite.",
    "It was awesome to see them on the screen again.",
)
