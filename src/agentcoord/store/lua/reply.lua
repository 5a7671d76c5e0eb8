-- Put where a call of a dispatcher is answered: its memory, enough to answer again if the answer is lost. The
-- rest is read back. A month, because a call is repeated whenever the server comes back.
local function remember(reply_key, number, first_event, first_token, waiters)
  local month_ms = '2592000000'
  redis.call('SET', reply_key, table.concat({number, first_event, first_token, waiters}, '|'), 'PX', month_ms)
end
