-- Contact parameters as the phone wrote them, but q and expires, for the answers to REGISTER.
ALTER TABLE bindings ADD COLUMN params TEXT NOT NULL DEFAULT '';
