// Sessions in files of a folder, which all replicas can share.
const session = require('express-session');
const FileStore = require('session-file-store')(session);

const [port, path] = process.argv.slice(2);
require('./app')(Number(port), new FileStore({ path, logFn: () => {} }));
