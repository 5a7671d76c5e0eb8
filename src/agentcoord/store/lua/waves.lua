-- Put where a script tells those who need a task what became of it.
-- LIST `waves`: ended or brought back tasks whose dependents are still to be told, "<what>:<from>:<to>:<id>":
-- positions `from` to before `to` of `dep:<id>`. Written with the change itself, so that a crash between
-- two calls leaves nobody waiting for ever. `what` is d (done), f (ended without a result) or r (brought
-- back); w: a held task was put back behind its needs, and is told itself what became of them. Dependents
-- that are loaded later are not told: loading looks at the states as they are by then.
local function wave_of(what, id)
  if redis.call('SISMEMBER', P .. 'hd', id) == 0 then return nil end
  return what .. ':0:' .. redis.call('LLEN', P .. 'dep:' .. id) .. ':' .. id
end

local function begin_wave(what, id)
  local wave = wave_of(what, id)
  if wave then redis.call('RPUSH', P .. 'waves', wave) end
end

-- Releases at most `most` dependents of a done task. Returns how many, and whether some are left.
local function release_some(need, most, blocked, queued)
  local some = redis.call('LPOP', P .. 'dep:' .. need, most) or {}
  for _, dependent in ipairs(some) do
    -- Counted whatever its state: one that failed by another need may be brought back later.
    local open = redis.call('HINCRBY', task_key(dependent), 'open', -1)
    if open == 0 and redis.call('HGET', task_key(dependent), 'state') == blocked then
      move_state(dependent, blocked, queued)
      make_ready(dependent)
    end
  end
  if #some == most and redis.call('EXISTS', P .. 'dep:' .. need) == 1 then return #some, true end
  redis.call('SREM', P .. 'hd', need)
  return #some, false
end

-- The first need of a task that has ended without a result, or nil; and how many were looked at.
local function dead_need(of, dead)
  local looked = 0
  for _, need in ipairs(split(redis.call('HGET', task_key(of), 'needs') or '', ',')) do
    looked = looked + 1
    if dead[redis.call('HGET', task_key(need), 'state')] then return need, looked end
  end
  return nil, looked
end
