-- Renews many leases at once.
-- ARGV  1 deadline_ms  then 1 each: "<token>:<id>"
-- Returns {1 if renewed, 0 if lost, ...}.
-- Cost  2 calls; at most 1,000 leases.
-- Invariant: a lease that ended is never revived; one past its deadline that nobody reaped is renewed.
local members = {unpack(ARGV, 2, #ARGV)}
local scores = redis.call('ZMSCORE', P .. 'lease', unpack(members))
local alive, results = {}, {}
for i, member in ipairs(members) do
  results[i] = scores[i] and 1 or 0
  if scores[i] then
    alive[#alive + 1] = ARGV[1]
    alive[#alive + 1] = member
  end
end
in_chunks('ZADD', P .. 'lease', alive)
return finish(results)
