-- Ends reservations whose call will never be settled.
-- ARGV  1 model to book started ones on, '' to book nothing  then 1 each: reservation
-- Returns {reservation that was there, ...}.
-- Cost  5 calls a reservation, 10 a started one; at most 1,000.
-- Invariant: each is ended once; a call whose answer had begun is assumed billed in full.
local ended = {}
for i = 2, #ARGV do
  local raw = redis.call('HGET', P .. 'reservations', ARGV[i])
  if raw then
    if ARGV[1] ~= '' and cjson.decode(raw)[5] == '1' then
      book_reservation(ARGV[i], nil, ARGV[1], {})
    else
      drop_reservation(ARGV[i])
    end
    ended[#ended + 1] = ARGV[i]
  end
end
return finish(ended)
