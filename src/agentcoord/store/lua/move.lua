-- Moves a held task to another held state.
-- ARGV  1 id  2 token  3 expected state  4 next state  5 why
-- Returns the state it was in; '' when the token is stale. It moved only if that is the expected one.
-- Cost  4 calls.
-- Invariant: compare and set, and only for the holder.
local state = held_state(ARGV[1], ARGV[2])
if not state then return finish('') end
if state == ARGV[3] then move_state(ARGV[1], state, ARGV[4], 'why', ARGV[5]) end
return finish(state)
