-- Turns a reservation into what the call really cost.
-- ARGV  1 mark of the memory  2 reservation  3 actual amount  4 model  then kind, tokens, ...
-- Returns {spent by its run, its task, its day, then tokens in that order}, {} when there is no such reservation
--       (settled or released before), or nil when the memory is gone.
-- Cost  23 calls and 5 a kind of token.
-- Invariant: books once, because booking removes the reservation.
if has_forgotten(ARGV[1]) then return false end
local tokens, used = {unpack(ARGV, 5, #ARGV)}, 0
for i = 2, #tokens, 2 do used = used + tonumber(tokens[i]) end
return finish(book_reservation(ARGV[2], ARGV[3], string.format('%.0f', used), ARGV[4], tokens))
