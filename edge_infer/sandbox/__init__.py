"""The walls between the rooms, as the kernel holds them."""
