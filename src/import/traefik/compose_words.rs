//! What a compose file says about routes, and what becomes of it. What else it says is for Docker.

use crate::fate::{Word, left, needless, taken};

const REMOVE: &str = "remove it";
const LAYER_4: &str = "unstick balances HTTP only";
const KEEP: &str = "keep Traefik for these, on other ports";

/// The words.
pub(crate) const WORDS: &[Word] = &[
    taken("labels", "the words of Traefik; `${NAME}` stays, so give unstick these variables"),
    taken("deploy.labels", "the same, if there are no others"),
    taken("traefik.enable", "whether the service has routes"),
    taken("providers.docker.exposedByDefault", "whether services without `traefik.enable` have routes"),
    taken("expose", "the port of the backends, the lowest, if no label says it"),
    taken("ports", "the same"),
    taken("command", "the flags of Traefik's service are its static configuration"),
    taken("environment", "variables of Traefik's service such as TRAEFIK_ENTRYPOINTS_WEB_ADDRESS, too"),
    taken("volumes", "where Traefik's service has its files from"),
    needless("deploy.replicas", "the name of a service has one address per replica"),
    needless("scale", "the name of a service has one address per replica"),
    needless("networks", "unstick must be in a network with each service that it asks"),
    left("network_mode", "a service without a network of its own has no name", "write the address in its pool"),
    left("extends", "other files are not read", "import what `docker compose config` prints"),
    left("include", "other files are not read", "import what `docker compose config` prints"),
    left("traefik.docker.network", "names are resolved in all networks of unstick", "put unstick into that network"),
    left("traefik.docker.lbswarm", "a name has one address per replica", REMOVE),
    left("traefik.docker.allownonrunning", "a name without addresses has no endpoints", REMOVE),
    left("traefik.swarm", "names are resolved in all networks of unstick", "put unstick into that network"),
    left("traefik.tcp", LAYER_4, KEEP),
    left("traefik.udp", LAYER_4, KEEP),
];
