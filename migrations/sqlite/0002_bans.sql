-- Who is not heard. The running daemon writes its own bans here and notices those an administrator sets or ends.
CREATE TABLE bans (
    source TEXT NOT NULL,    -- an IPv4 address or an IPv6 /64
    user   TEXT NOT NULL,    -- '' for everybody there
    until  INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (source, user)
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('bans_version', 1); -- grows with every change an administrator makes
