-- Gives a held task back to the line, at once or after a delay.
-- ARGV  1 id  2 token  3 csv of states it may be in  4 queued  5 why  6 counts_attempt '1'/'0'
--       7 due_ms, 0 for at once
-- Returns 1, or 0 when the token is stale or the state is none of these.
-- Cost  6 to 8 calls.
-- Invariant: its score, and so its place in line, stays what it was.
local state = held_state(ARGV[1], ARGV[2])
if not state or not set_of(ARGV[3])[state] then return finish(0) end
put_back(ARGV[1], ARGV[2], state, ARGV[4], ARGV[5], ARGV[6] == '1', tonumber(ARGV[7]))
return finish(1)
