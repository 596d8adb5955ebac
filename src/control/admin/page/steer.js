// Buttons that change an endpoint at run time. Each asks once, and says what it did.

// What a button does: its label, what it is about, and what follows.
const VERBS = {
  drain: ["Drain", "Drain", "It gets no new requests; those that it has go on, and it is still probed."],
  ready: ["Ready", "Put back", "It takes requests while it is healthy, whatever the config says."],
  down: ["Down", "Take down", "It gets no new requests and is not probed; those that it has go on."],
  weight: ["Weight", "Weigh", "Its share of new requests is its weight by that of all."],
};
const LASTS = "This lasts until its entry in the config changes.";

// The token is kept here, and nowhere else: it is gone with the page.
const steering = { needs: null, token: "", verb: "", pool: "", address: "", state: null };

const asking = byId("steer");
const part = name => asking.querySelector(`[name=${name}]`);

// Takes in what this page needs to change something; null: nothing.
const need = needs => {
  steering.needs = needs;
  const isReadOnly = needs !== null && !needs.token;
  document.body.classList.toggle("read-only", isReadOnly);
  byId("access").hidden = !isReadOnly;
  say(byId("access"), needs?.why ?? "");
};

const endpointOf = (pool, address) => {
  const found = steering.state?.pools.find(one => one.name === pool);
  return [found, found?.endpoints.find(one => one.address === address)];
};

// What somebody should know before it is done.
const cautions = () => {
  const [pool, endpoint] = endpointOf(steering.pool, steering.address);
  if (!endpoint) return "It is not there any more.";
  if (steering.verb === "ready" || steering.verb === "weight") return "";
  const others = pool.endpoints.filter(one => one.address !== steering.address && one.fair_share > 0);
  const busy = endpoint.in_flight ? `${plural(endpoint.in_flight, "request")} in flight. ` : "";
  return busy + (others.length ? "" : `No other endpoint of pool ${steering.pool} takes requests now.`);
};

const openSteering = (verb, pool, address) => {
  Object.assign(steering, { verb, pool, address });
  const [label, what, follows] = VERBS[verb];
  const [, endpoint] = endpointOf(pool, address);
  say(byId("steered"), `${what} ${address} of pool ${pool}?`);
  say(part("follows"), `${follows} ${LASTS}`);
  say(part("cautions"), cautions());
  say(part("error"), "");
  part("weights").hidden = verb !== "weight";
  part("weight").value = endpoint?.weight ?? 1;
  part("weight").disabled = verb !== "weight";
  askToken();
  say(part("do"), label);
  asking.showModal();
  (verb === "weight" ? part("weight") : steering.needs?.token && !steering.token ? part("token") : part("do")).focus();
};

const askToken = () => {
  part("tokens").hidden = !steering.needs?.token;
  part("token").value = steering.token;
};

// Sends the change. A refusal is shown where it was asked; what was done is told at the pool.
const steer = async () => {
  const { verb, pool, address } = steering;
  steering.token = part("token").value.trim();
  const headers = { "content-type": "application/json" };
  if (steering.token) headers.authorization = `Bearer ${steering.token}`;
  const body = JSON.stringify(verb === "weight" ? { weight: part("weight").valueAsNumber } : {});
  const path = `v1/pools/${encodeURIComponent(pool)}/endpoints/${encodeURIComponent(address)}/${verb}`;
  part("do").disabled = true;
  try {
    const response = await fetch(path, { method: "POST", headers, body, cache: "no-store" });
    const told = await response.json().catch(() => ({}));
    if (response.status === 401) {
      steering.needs = { token: true, why: told.error };
      steering.token = "";
      askToken();
    }
    if (!response.ok) throw new Error(told.error ?? `the admin port says ${response.status}`);
    asking.close();
    announce(pool, told.did);
  } catch (error) {
    say(part("error"), sentence(error.message));
  }
  part("do").disabled = false;
};

const announce = (pool, did) => {
  const box = byId("pools").byKey?.get(pool)?.querySelector(".did");
  if (box) say(box, `${new Date().toLocaleTimeString([], { hour12: false })}: ${sentence(did)}`);
};

// The buttons of a row: what the endpoint does already is left out.
const showButtons = (cell, { endpoint }) => {
  const wanted = endpoint.wanted === "held" ? "ready" : endpoint.wanted;
  const verbs = Object.keys(VERBS).filter(verb => verb !== wanted);
  const build = verb => {
    const button = make("button", "", VERBS[verb][0]);
    button.setAttribute("aria-label", `${VERBS[verb][0]} ${endpoint.address}`);
    button.addEventListener("click", () => {
      openSteering(verb, button.closest("[data-pool]").dataset.pool, button.closest("tr").dataset.address);
    });
    return button;
  };
  cell.parentNode.dataset.address = endpoint.address;
  const isFocused = cell.contains(document.activeElement);
  sync(cell, verbs, verb => verb, build, () => {});
  // The button that was used is gone when its change is shown. Whoever goes by the keyboard stays in the row.
  if (isFocused && !cell.contains(document.activeElement)) cell.firstElementChild.focus();
};

// What was set at run time, and by whom; empty if nothing was.
const setAtRunTime = ({ override: set }, now) => {
  if (!set) return "";
  const what = [set.state, set.weight && `weight ${set.weight}`].filter(Boolean).join(" and ");
  return `${what} set at run time by ${set.by} ${since(set.since, now)}`;
};

asking.querySelector("form").addEventListener("submit", event => {
  event.preventDefault();
  steer();
});
part("cancel").addEventListener("click", () => asking.close());
