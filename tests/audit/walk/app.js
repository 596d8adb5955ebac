// A login with a form, as many applications have it. What the two servers beside it differ in is the store of sessions.
const crypto = require('node:crypto');
const express = require('express');
const session = require('express-session');

module.exports = function serve(port, store) {
  const app = express();
  app.use(express.urlencoded({ extended: false }));
  // One secret for all replicas. In production it comes from outside.
  app.use(session({ store, secret: 'of this example', resave: false, saveUninitialized: false }));

  app.get('/login', (request, response) => {
    request.session.csrf = crypto.randomBytes(12).toString('hex');
    response.send(`<form method="post">
<input type="hidden" name="csrf" value="${request.session.csrf}">
<input name="user"> <input name="password" type="password"> <button>Log in</button>
</form>`);
  });

  app.post('/login', (request, response) => {
    if (request.body.csrf !== request.session.csrf) {
      return response.status(403).send('the form is not ours');
    }
    request.session.user = request.body.user;
    // The session is stored before the browser comes back.
    request.session.save(() => response.redirect('/me'));
  });

  app.get('/me', (request, response) => {
    if (!request.session.user) {
      return response.redirect('/login');
    }
    response.send(`<h1>Hello ${encodeURIComponent(request.session.user)}</h1>`);
  });

  app.listen(port, '127.0.0.1');
};
