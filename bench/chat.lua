-- wrk script: one chat completion after the other, each from the next caller in turn.
-- Usage: wrk … -s chat.lua URL -- CALLERS-FILE     (lines of: bearer, tab, e-mail)

local prepared, turn = {}, 0

local body = '{"model":"bench/fast","stream":false,"messages":['
  .. '{"role":"system","content":"Answer in one short sentence."},'
  .. '{"role":"user","content":"%s"}]}'
body = body:format(string.rep("a", 250 - #body + 2))

function init(args)
  for line in io.lines(args[1]) do
    local bearer, email = line:match("^(%S+)\t(%S+)$")
    prepared[#prepared + 1] = wrk.format("POST", nil, {
      ["Host"] = wrk.host .. ":" .. wrk.port,
      ["Authorization"] = "Bearer " .. bearer,
      ["Content-Type"] = "application/json",
      ["Accept"] = "*/*",
      ["Accept-Encoding"] = "gzip, deflate, br",
      ["User-Agent"] = "Python/3.11 aiohttp/3.14.0",
      ["X-OpenWebUI-User-Name"] = "Alice%20Example",
      -- each caller's own: an account is bound to the first id that it comes with
      ["X-OpenWebUI-User-Id"] = ("4c8a1de8-1f0f-44f5-9f3e-%012d"):format(#prepared + 1),
      ["X-OpenWebUI-User-Email"] = email,
      ["X-OpenWebUI-User-Role"] = "user",
      ["X-OpenWebUI-Chat-Id"] = "0c1c2f8e-5a3a-4d43-9d0c-6f7c0b8c9d1e",
    }, body)
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "\nresult requests=%d duration_us=%d p50_us=%d p99_us=%d failed=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
