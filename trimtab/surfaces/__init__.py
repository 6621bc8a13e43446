"""Groups of methods that the clients offer; each module holds one, `trimtab.surface.Surface` all of them."""
