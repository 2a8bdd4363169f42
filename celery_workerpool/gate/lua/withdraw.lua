-- args.items: {id, kind, dependency, error}. Returns {releases, more}.
for _, item in ipairs(args.items) do
  local got = call('HMGET', key('task', item[1]), 'state', 'home')
  if got[1] == 'parked' then release(item[1], got[2], {item[2], item[3], item[4]}) end
end
return {out, more}
