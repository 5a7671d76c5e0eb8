-- Takes a held task out of the line until a person decides.
-- ARGV  1 id  2 token  3 csv of states it may be in  4 parked  5 why
-- Returns 1, or 0 when the token is stale or the state is none of these.
-- Cost  5 calls.
local state = held_state(ARGV[1], ARGV[2])
if not state or not set_of(ARGV[3])[state] then return finish(0) end
drop_lease(ARGV[1], ARGV[2])
move_state(ARGV[1], state, ARGV[4], 'why', ARGV[5])
return finish(1)
