-- Put after the prelude of every script that takes tasks into line or out of it: places, and what a claim
-- need not look up.
-- Whether this call has added a route.
local has_new_route = false

local function put_in_line(id, route, score)
  redis.call('ZADD', P .. 'r:' .. route, score, id)
  if redis.call('SADD', P .. 'routes', route) == 1 then
    has_new_route = true
    -- A digest of all that were added, not a counter: that would come to the same number again, with
    -- other routes, after the keys were removed or lost, and who keeps the routes of that number would
    -- never look at these.
    local before = redis.call('GET', P .. 'routes:version') or ''
    redis.call('SET', P .. 'routes:version', redis.sha1hex(before .. ';' .. route))
  end
end

-- Puts a task at its place in line: the one it had before, since its score never changes by being claimed.
local function make_ready(id)
  local place = redis.call('HMGET', task_key(id), 'route', 'score')
  put_in_line(id, place[1], place[2])
end

-- What stands before a body, as long as no claim has to look into the task's hash:
-- "<queued_at> <csv of needs>" and a line feed. A body itself never begins with a digit.
local function says_all(stored)
  local first = string.byte(stored)
  return first and first >= 48 and first <= 57
end

local function bare(stored)
  return says_all(stored) and string.sub(stored, string.find(stored, '\n', 1, true) + 1) or stored
end
