-- Ends reservations whose call will never be settled.
-- ARGV  1 mark of the memory  2 model to book started ones on, '' to book nothing  then 1 each: reservation
-- Returns {reservation that was there, ...}, or nil when the memory is gone.
-- Cost  8 calls a reservation, 17 a started one; at most 1,000.
-- Invariant: each is ended once; a call whose answer had begun is assumed billed in full.
if has_forgotten(ARGV[1]) then return false end
local ended = {}
for i = 3, #ARGV do
  local raw = redis.call('HGET', P .. 'reservations', ARGV[i])
  if raw then
    if ARGV[2] ~= '' and cjson.decode(raw)[5] == '1' then
      book_reservation(ARGV[i], nil, ARGV[2], {})
    else
      drop_reservation(ARGV[i])
    end
    ended[#ended + 1] = ARGV[i]
  end
end
return finish(ended)
