"""The checks of `edge-infer doctor`: capabilities and problems of the board, verified by trying them."""
