-- args.items: ids. Returns for each the fields below, false where there is nothing.
local found = {}
for i, id in ipairs(args.items) do
  local got = call('HMGET', key('task', id), 'state', 'dependencies', 'policy', 'at', 'deadline',
    'name', 'kind', 'dependency', 'error')
  local ended = ending(id)
  local dependents = call('SRANDMEMBER', key('waits', id), args.named)
  if got[1] or ended or #dependents > 0 then
    found[i] = {got, call('SMEMBERS', key('open', id)), dependents, ended or false}
  else
    found[i] = false
  end
end
return found
