// Sessions in memory: what express-session does unless it is given a store.
require('./app')(Number(process.argv[2]));
