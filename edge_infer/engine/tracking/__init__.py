"""From the boxes of single frames to objects with ids: motion, matching, re-identification."""
