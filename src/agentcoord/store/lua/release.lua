-- Ends reservations whose call will never be settled.
-- ARGV  1 mark of the memory  2 model to book them on, '' to book nothing  then 1 each: reservation
-- Returns {reservation that was there, ...}, or nil when the memory is gone.
-- Cost  8 calls a reservation that is given up, 22 one that is booked; at most 1,000.
-- Invariant: each is ended once. Where it is booked, a call whose answer had begun is assumed billed in full,
--       and any other one as sent: whoever made it may have died between sending it and the answer.
if has_forgotten(ARGV[1]) then return false end
local ended = {}
for i = 3, #ARGV do
  local raw = redis.call('HGET', P .. 'reservations', ARGV[i])
  if raw then
    local r = cjson.decode(raw)
    local began = r[5] == '1'
    local amount, used = began and r[4] or r[8] or '0', (began and r[6] or r[9]) or '0'
    if ARGV[2] == '' or (amount == '0' and used == '0') then
      drop_reservation(ARGV[i])
    else
      book_reservation(ARGV[i], amount, used, ARGV[2], {})
    end
    ended[#ended + 1] = ARGV[i]
  end
end
return finish(ended)
