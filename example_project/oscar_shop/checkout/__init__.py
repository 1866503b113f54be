"""Oscar's checkout, which leaves taking a payment to the shop."""
