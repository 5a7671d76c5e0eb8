-- Put where `dispatch.lua` books what the workers finished. `release_dependents` is the caller's.
-- Takes the lines of the finished, and where in the arguments the words of their landings begin; returns a digit
-- for each, and where those words end.
local function finish_tasks(lines, at)
  local results, ids, members, states, words, count = {}, {}, {}, {}, {}, 0
  for state, how_many, member, id in string.gmatch(lines, '(%S+) (%d+) (%d+:([^\n]*))\n') do
    count = count + 1
    ids[count], members[count], states[count], words[count] = id, member, state, how_many
  end
  local leased, moved = in_chunks('ZMSCORE', P .. 'lease', members), in_chunks('HMGET', P .. 'held', ids)
  local ended, ended_members, at_of, any_moved = {}, {}, {}, false
  for i = 1, count do
    local id, expected, from = ids[i], states[i], at
    if words[i] ~= '0' then at = at + words[i] end
    local mine = leased[i] and not at_of[id]
    if mine and (moved[i] or running) ~= expected then
      mine = redis.call('HGET', task_key(id), 'state') == expected
    end
    if mine then
      if moved[i] then
        any_moved = true
        move_state(id, expected, done, 'ended_at', ARGV[1], 'why', '', unpack(ARGV, from, at - 1))
      else  -- A claim leaves no why, only a move does.
        move_state(id, expected, done, 'ended_at', ARGV[1], unpack(ARGV, from, at - 1))
      end
      ended[#ended + 1] = id
      ended_members[#ended] = members[i]
      at_of[id] = i
      results[i] = '1'
    else
      local task = redis.call('HMGET', task_key(id), 'state', 'token')
      results[i] = task[1] == done and (task[2] or '') .. ':' .. id == members[i] and '1' or '0'
      -- The answer that said 2 may be the one that was lost.
      if repeated and results[i] == '1' and redis.call('EXISTS', P .. 'waves') == 1 then results[i] = '2' end
    end
  end
  in_chunks('ZREM', P .. 'lease', ended_members)
  if any_moved then in_chunks('HDEL', P .. 'held', ended) end
  if any_writes then
    in_chunks('HDEL', P .. 'busy', ended)
    in_chunks('HDEL', P .. 'writes', ended)
  end
  local needed = {}
  for i, has in ipairs(in_chunks('SMISMEMBER', P .. 'hd', ended)) do
    if has == 1 then needed[#needed + 1] = ended[i] end
  end
  if #needed > 0 then
    for _, id in ipairs(release_dependents(needed)) do results[at_of[id]] = '2' end
  end
  return results, at
end
