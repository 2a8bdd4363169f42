-- args.items: {id, kind, error, keep}; ARGV[2], ARGV[3]: ids of others that are done, with null
-- characters between them: to be kept, and not. Returns {releases, more}.
local TASK, WAITS, ENDED = key('task', ''), key('waits', ''), key('ended', '')

-- Most tasks have never waited, and nobody waits for them.
local function end_it(id, kind, error)
  local task = TASK .. id
  if call('EXISTS', task, WAITS .. id) == 0 then return end
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

local function keep(id, text) call('SETEX', ENDED .. id, args.keep, text) end

for id in string.gmatch(ARGV[2], '%Z+') do
  keep(id, 'done:')
  end_it(id, 'done', '')
end
for id in string.gmatch(ARGV[3], '%Z+') do end_it(id, 'done', '') end
for _, item in ipairs(args.items) do
  local id, kind, error = item[1], item[2], item[3]
  if item[4] then keep(id, kind .. ':' .. error) end
  end_it(id, kind, error)
end
if args.again then
  continue_todo()
  continue_due()
end
return {out, more}
