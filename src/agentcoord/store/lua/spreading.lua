-- Put between the prelude and the scripts that tell dependents what became of their need: done, ended
-- without a result, or brought back. Their first fifteen arguments are these:
--       1 now_ms  2 blocked  3 queued  4 failed  5 cancelled  6 csv of states of a need that never
--       become done by themselves  7 the rule "skip"  8 the rule "run"  9 words before a need's id in a
--       dependent's why  10, 11, 12 words after the id of a need that failed, was cancelled, was skipped
--       13 words after the id of another need that keeps a dependent from coming back
--       14 words before all that of a skipped one  15 most dependents in this call
-- `spread()` returns {flat list of id, need, state of each that ended, how many may run now, 1 when more is left}.
-- Cost  3 calls, and 2 to 10 a dependent; of one brought back also 1 a need of its own. Bounded by ARGV[15]
--       dependents and needs, or those of one dependent.
-- Invariant: a wave is told whole before the next that began after it, and what it causes before that, so
--       that `open` is right at each step: the needs that are not done, or for a task with the rule "run"
--       have neither ended nor begun anew.
local now, blocked, queued, failed, cancelled = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local dead, skip, run = set_of(ARGV[6]), ARGV[7], ARGV[8]
local ended, ready = {}, 0

local function words_after(need)
  local task = redis.call('HMGET', task_key(need), 'state', 'cause')
  if task[1] ~= cancelled then return ARGV[10] end
  return task[2] and ARGV[12] or ARGV[11]
end

-- A need ended without a result. Returns the wave that follows, if any.
local function tell_end(need, words, dependent)
  local task = redis.call('HMGET', task_key(dependent), 'state', 'onfail')
  if task[2] == run then
    if redis.call('HINCRBY', task_key(dependent), 'open', -1) == 0 and task[1] == blocked then
      move_state(dependent, blocked, queued)
      make_ready(dependent)
      ready = ready + 1
    end
    return nil
  end
  if task[1] ~= blocked then return nil end
  local to, before = failed, ''
  if task[2] == skip then to, before = cancelled, ARGV[14] end
  move_state(dependent, blocked, to, 'cause', need, 'why', before .. words, 'ended_at', now)
  for _, item in ipairs({dependent, need, to}) do ended[#ended + 1] = item end
  return wave_of('f', dependent)
end

-- A task that is in line, or delayed, waits for a need again: also no longer for a time.
local function block_again(id, route)
  redis.call('ZREM', P .. 'delay', id)
  redis.call('HDEL', task_key(id), 'due')
  redis.call('ZREM', P .. 'r:' .. route, id)
  move_state(id, queued, blocked)
end

-- A need was brought back. Returns the wave that follows, if any, and how many needs were looked at.
local function tell_return(dependent)
  local task = redis.call('HMGET', task_key(dependent), 'state', 'onfail', 'cause', 'route')
  if task[2] == run then
    redis.call('HINCRBY', task_key(dependent), 'open', 1)
    if task[1] == queued then block_again(dependent, task[4]) end
    return nil, 0
  end
  if not (dead[task[1]] and task[3]) then return nil, 0 end
  local other, looked = dead_need(dependent, dead)
  if other then
    redis.call('INCR', P .. 'revised')
    local before = task[2] == skip and ARGV[14] or ''
    redis.call('HSET', task_key(dependent), 'cause', other, 'why', before .. ARGV[9] .. other .. ARGV[13])
    return nil, looked
  end
  bring_back(dependent, task[1], queued, blocked)
  ready = ready + 1
  return wave_of('r', dependent), looked
end

-- A held task was put back behind its needs, one of which may have ended without a result while it was held.
-- Returns the wave that follows, if any, and how many needs were looked at.
local function tell_put_back(id)
  local task = redis.call('HMGET', task_key(id), 'state', 'onfail')
  if task[1] ~= blocked or task[2] == run then return nil, 0 end
  local need, looked = dead_need(id, dead)
  return need and tell_end(need, ARGV[9] .. need .. words_after(need), id), looked
end

local function spread()
  local left = tonumber(ARGV[15])
  while left > 0 do
    local wave = redis.call('LPOP', P .. 'waves')
    if not wave then break end
    local what, from, to, need = string.match(wave, '^(%a):(%d+):(%d+):(.*)$')
    from, to, left = tonumber(from), tonumber(to), left - 1
    if what == 'd' then
      local released, more = release_some(need, math.max(left, 1), blocked, queued)
      ready, left = ready + released, left - released
      if more then redis.call('LPUSH', P .. 'waves', wave) end
    elseif what == 'w' then
      local next_wave, looked = tell_put_back(need)
      left = left - looked
      if next_wave then redis.call('LPUSH', P .. 'waves', next_wave) end
    else
      local some = redis.call('LRANGE', P .. 'dep:' .. need, from, math.min(to, from + math.max(left, 1)) - 1)
      local words = what == 'f' and ARGV[9] .. need .. words_after(need)
      local following, told = {}, 0
      for _, dependent in ipairs(some) do
        if left <= 0 and told > 0 then break end
        local next_wave, looked
        if what == 'f' then
          next_wave, looked = tell_end(need, words, dependent), 0
        else
          next_wave, looked = tell_return(dependent)
        end
        if next_wave then following[#following + 1] = next_wave end
        told, left = told + 1, left - 1 - looked
      end
      if #some > 0 and from + told < to then
        redis.call('LPUSH', P .. 'waves', what .. ':' .. (from + told) .. ':' .. to .. ':' .. need)
      end
      for _, next_wave in ipairs(following) do redis.call('LPUSH', P .. 'waves', next_wave) end
    end
  end
  return {ended, ready, redis.call('EXISTS', P .. 'waves')}
end
