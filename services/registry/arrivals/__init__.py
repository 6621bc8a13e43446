"""How the bytes of a version arrive: forms, archives, pieces, signed parts; and what is made of them."""
