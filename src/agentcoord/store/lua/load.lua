-- Adds tasks, or replaces what a person changed in tasks that nobody works on.
-- ARGV  1 now_ms  2 first rank of this load, '' to reserve `3` ranks now  3 ranks to reserve
--       4 done  5 blocked  6 queued  7 failed  8 csv of states whose tasks may be edited
--       9 csv of states that never become done by themselves  10, 11 words around the id of such a need
--       12 the rule "skip"  13 the rule "run"  14 cancelled  15 words before the why of a skipped task
--       then 8 a task, each task after those it needs: id, its rank in this load, bonus_ms of its priority,
--       route, csv of needs, rule for a need that ends without a result ('' the usual), encoded writes, body
-- Returns {first rank, {outcome a task}}, outcome 1 added, 0 unchanged, 2 changed; or, nothing written,
--       {'', {task, need that is unknown, ...}}.
-- Cost  2 to 8 calls a task and one a need; at most 1,000 tasks a call.
-- Invariant: all of the call or nothing: unknown needs are looked for before the first write.
--       Ranks only grow, one a task, and never lag behind the clock: they order tasks by age.
local now = tonumber(ARGV[1])
local done, blocked, queued, failed = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local skip, run, cancelled = ARGV[12], ARGV[13], ARGV[14]

local in_batch, unknown = {}, {}
for i = 16, #ARGV, 8 do in_batch[ARGV[i]] = true end
for i = 16, #ARGV, 8 do
  for _, need in ipairs(split(ARGV[i + 4], ',')) do
    if not in_batch[need] and redis.call('EXISTS', task_key(need)) == 0 then
      unknown[#unknown + 1] = ARGV[i]
      unknown[#unknown + 1] = need
    end
  end
end
if #unknown > 0 then return finish({'', unknown}) end

local base = tonumber(ARGV[2])
if not base then
  base = math.max(now, tonumber(redis.call('GET', P .. 'seq') or '0') + 1)
  redis.call('SET', P .. 'seq', string.format('%d', base + tonumber(ARGV[3]) - 1))
end

-- Tells each need that is not done of the task. Returns how many it waits for, and the first by which it ends.
local function tie_to(needs, id, rule)
  local open, cause, dead = 0, nil, set_of(ARGV[9])
  for _, need in ipairs(split(needs, ',')) do
    local state = redis.call('HGET', task_key(need), 'state')
    if state ~= done then
      redis.call('RPUSH', P .. 'dep:' .. need, id)
      redis.call('SADD', P .. 'hd', need)
      if rule ~= run or not dead[state] then open = open + 1 end
    end
    if rule ~= run and dead[state] then cause = cause or need end
  end
  return open, cause
end

local function add(id, rank, bonus_ms, route, needs, rule, writes, body)
  local open, cause, key = 0, nil, task_key(id)
  if needs ~= '' then open, cause = tie_to(needs, id, rule) end
  local score = string.format('%d', rank - bonus_ms)
  -- A claim looks the rule up.
  redis.call('SET', P .. 'b:' .. id, rule == '' and ARGV[1] .. ' ' .. needs .. '\n' .. body or body)
  redis.call('ZADD', P .. 'order', string.format('%d', rank), id)
  if writes ~= '' then redis.call('HSET', P .. 'writes', id, writes) end
  if needs ~= '' then redis.call('HSET', key, 'needs', needs, 'open', open) end
  if rule ~= '' then redis.call('HSET', key, 'onfail', rule) end
  local to = open > 0 and blocked or queued
  if cause then
    to = rule == skip and cancelled or failed
    local before = rule == skip and ARGV[15] or ''
    redis.call('HSET', key, 'cause', cause, 'why', before .. ARGV[10] .. cause .. ARGV[11], 'ended_at', ARGV[1])
  end
  move_state(id, '', to, 'route', route, 'score', score, 'queued_at', ARGV[1])
  if to == queued then put_in_line(id, route, score) end
end

-- Returns what replaces a task that a person has edited; defined only when a task is there already.
local function editing()
  -- part: waves
  local editable, dead = set_of(ARGV[8]), set_of(ARGV[9])

  -- The rule for needs decides how they are counted, so it changes only while none of them has ended
  -- without a result and nobody is still to be told that one did.
  local function may_change_rule(id)
    return redis.call('EXISTS', P .. 'waves') == 0 and not dead_need(id, dead)
  end

  local function set_or_not(key, field, value)
    if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
  end

  return function(id, bonus_ms, route, rule, writes, body)
    local key = task_key(id)
    local old = redis.call('HMGET', key, 'state', 'route', 'onfail')
    if not editable[old[1]] then return 0 end
    local new_rule = (old[3] or '') ~= rule and may_change_rule(id)
    if not new_rule and bare(redis.call('GET', P .. 'b:' .. id)) == body then return 0 end
    if new_rule then set_or_not(key, 'onfail', rule) end
    local score = string.format('%d', tonumber(redis.call('ZSCORE', P .. 'order', id)) - bonus_ms)
    redis.call('SET', P .. 'b:' .. id, body)
    redis.call('HSET', key, 'route', route, 'score', score)
    set_or_not(P .. 'writes', id, writes)
    -- In line only if it was: a blocked, parked or delayed task must not slip in.
    if redis.call('ZREM', P .. 'r:' .. old[2], id) == 1 then make_ready(id) end
    return 2
  end
end

local outcomes, edit = {}, nil
for i = 16, #ARGV, 8 do
  local id, bonus_ms = ARGV[i], tonumber(ARGV[i + 2])
  local route, needs, rule, writes, body = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  if redis.call('EXISTS', task_key(id)) == 1 then
    edit = edit or editing()
    outcomes[#outcomes + 1] = edit(id, bonus_ms, route, rule, writes, body)
  else
    add(id, base + tonumber(ARGV[i + 1]), bonus_ms, route, needs, rule, writes, body)
    outcomes[#outcomes + 1] = 1
  end
end
return finish({string.format('%d', base), outcomes})
