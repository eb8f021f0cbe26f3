"""What the type checkers must see."""
