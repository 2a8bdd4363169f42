-- args.items: {id, kind, error, keep}. Returns {releases, more}.
local TASK, WAITS, ENDED = key('task', ''), key('waits', ''), key('ended', '')

local function end_it(id, kind, error)
  local task = TASK .. id
  local got = call('HMGET', task, 'state', 'home')
  if got[1] and got[1] ~= 'ended' then
    unhook(id, got[2])
    call('ZREM', key('due', got[2]), id)
    call('HSET', task, 'state', 'ended', 'ended', kind .. ':' .. error)
    call('HDEL', task, 'parcel')
    call('EXPIRE', task, args.keep)
  end
  tell(id, {kind, error})
end

for _, item in ipairs(args.items) do
  local id, kind, error, keep = item[1], item[2], item[3], item[4]
  if keep then call('SET', ENDED .. id, kind .. ':' .. error, 'EX', args.keep) end
  -- Most tasks have never waited, and nobody waits for them.
  if call('EXISTS', TASK .. id, WAITS .. id) > 0 then end_it(id, kind, error) end
end
if args.again then
  continue_todo()
  continue_due()
end
return {out, more}
