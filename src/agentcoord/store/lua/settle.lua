-- Turns a reservation into what the call really cost.
-- ARGV  1 reservation  2 actual amount  3 model  then kind, tokens, ...
-- Returns 1, or 0 when there is no such reservation (settled or released before).
-- Cost  10 calls and 3 a kind of token.
-- Invariant: books once, because booking removes the reservation.
return finish(book_reservation(ARGV[1], ARGV[2], ARGV[3], {unpack(ARGV, 4, #ARGV)}))
