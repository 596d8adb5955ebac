-- Prints what wrk counted as one line of JSON, and paces the connections if WRK_PAUSE_MS says so.
local pause_ms = tonumber(os.getenv("WRK_PAUSE_MS") or "0")
if pause_ms > 0 then
  -- uniform around the mean, so that the connections do not fall into step
  function delay() return math.random(0, 2 * pause_ms) end
end

-- With WRK_ADDRESSES_FROM every request comes from another client, as a trusted proxy would say: number by number.
local from = tonumber(os.getenv("WRK_ADDRESSES_FROM") or "")
if from then
  function request()
    local high, low = math.floor(from / 65536), from % 65536
    from = from + 1
    local address = string.format("11.%d.%d.%d", high % 256, math.floor(low / 256), low % 256)
    return wrk.format(nil, nil, { ["X-Forwarded-For"] = address, ["Host"] = "127.0.0.1" })
  end
end

-- With WRK_POST every request is a POST with a body of so many bytes.
local post = tonumber(os.getenv("WRK_POST") or "")
if post then
  wrk.method, wrk.body = "POST", string.rep("x", post)
end

-- With WRK_ROUTES the requests go to so many prefixes, one after the other.
local routes = tonumber(os.getenv("WRK_ROUTES") or "")
if routes then
  local requests, number = {}, 0
  function init()
    for i = 0, routes - 1 do
      requests[i] = wrk.format(nil, "/r/" .. i .. "/")
    end
  end
  function request()
    number = (number + 1) % routes
    return requests[number]
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'WRK {"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,'
      .. '"p50":%d,"p90":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
