-- Goes on telling dependents what became of their need.
-- ARGV  those of spreading.lua
-- Returns what `spread()` returns.
-- Cost  that of `spread()`.
-- Invariant: that of `spread()`.
return finish(spread())
