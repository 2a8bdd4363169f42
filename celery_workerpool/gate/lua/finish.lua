-- args.items: {id, kind, error, keep}. Returns {releases, more}.
for _, item in ipairs(args.items) do
  local id, ended = item[1], {item[2], item[3]}
  local task = key('task', id)
  local got = call('HMGET', task, 'state', 'home')
  if got[1] and got[1] ~= 'ended' then
    unhook(id, got[2])
    call('ZREM', key('due', got[2]), id)
    call('HSET', task, 'state', 'ended', 'ended', ended[1] .. ':' .. ended[2])
    call('HDEL', task, 'parcel')
    call('EXPIRE', task, args.keep)
  end
  if item[4] then call('SET', key('ended', id), ended[1] .. ':' .. ended[2], 'EX', args.keep) end
  tell(id, ended)
end
if args.again then
  continue_todo()
  continue_due()
end
return {out, more}
