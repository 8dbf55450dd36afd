//! `postgres://user:password@host:port/database`, checked before anything is connected.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chassis::tls;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::Fault;

/// What is accepted, for people.
pub const ACCEPTED: &str = "postgres://user:password@host:port/database";

const VERIFY_FULL: &str = "sslmode=verify-full";
const REQUIRE: &str = "sslmode=require";

/// The side of a connection that must be driven.
pub(super) type Wire = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Where a database is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    config: Arc<Config>,
}

/// Why it is none, as the end of a sentence. It never repeats the URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("is no URL of a PostgreSQL database, which is {ACCEPTED}")]
    Malformed,
    #[error(
        "asks for TLS in an unknown way: sslmode is disable, require or verify-full, and the latter two verify the server's certificate and name, \
         with the authorities of the system or of SSL_CERT_FILE"
    )]
    Tls,
    #[error("names no user: {ACCEPTED}")]
    User,
    #[error("names no database: {ACCEPTED}")]
    Database,
    #[error("names no host: {ACCEPTED}; a socket's folder is written with %2F for each slash")]
    Host,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        // The parser knows fewer modes than there are; what it calls `require` is verified here.
        let parsed = Config::from_str(&text.replace(VERIFY_FULL, REQUIRE)).ok().filter(|_| is_url);
        let Some(mut config) = parsed else {
            let wants_tls = ["sslmode=", "sslrootcert="].iter().any(|asked| text.contains(asked));
            return Err(if is_url && wants_tls { UrlError::Tls } else { UrlError::Malformed });
        };
        if config.get_user().is_none_or(str::is_empty) {
            return Err(UrlError::User);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(UrlError::Database);
        }
        if config.get_hosts().is_empty() {
            return Err(UrlError::Host);
        }
        // To prefer is to take what comes, which protects from nobody who can listen.
        if config.get_ssl_mode() != SslMode::Require {
            config.ssl_mode(SslMode::Disable);
        }
        config.connect_timeout(Duration::from_secs(3));
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_secs(15));
        if config.get_application_name().is_none() {
            config.application_name("longshore");
        }
        Ok(Self { config: Arc::new(config) })
    }
}

impl Url {
    /// Connects, over TLS where the URL asks for it.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), Fault> {
        let asks = self.config.get_ssl_mode() == SslMode::Require;
        let tls = if asks { tls::client().map_err(|error| Fault::lost(&error))? } else { tls::trusting_nobody() };
        Ok(self.config.connect(MakeRustlsConnect::new(tls)).await?)
    }
}

/// Without the password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) if name.contains(':') => format!("[{name}]"),
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string().replace('/', "%2F"),
            None => String::new(),
        };
        let port = self.config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
        let (user, database) = (self.config.get_user(), self.config.get_dbname());
        write!(f, "postgres://{}@{host}{port}/{}", user.unwrap_or_default(), database.unwrap_or_default())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let check = |text: &str, shown: &str| {
            let url: Url = text.parse().expect("accepted");
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("Url({shown})")));
        };
        check("postgres://u:secret@db.example:5433/jobs", "postgres://u@db.example:5433/jobs");
        check("postgresql://u@[::1]/jobs?sslmode=prefer", "postgres://u@[::1]:5432/jobs");
        check("postgres://u:secret@%2Frun%2Fpostgresql/jobs", "postgres://u@%2Frun%2Fpostgresql:5432/jobs");
    }

    #[test]
    fn what_is_no_url_is_told_without_its_password() {
        let check = |text: &str, expected: UrlError| {
            let error = text.parse::<Url>().expect_err("refused");
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        };
        check("postgres://u:secret@h/db?sslmode=verify-ca", UrlError::Tls);
        check("postgres://u:secret@h/db?sslmode=require&sslrootcert=ca.pem", UrlError::Tls);
        check("postgres://h/db", UrlError::User);
        check("postgres://u:secret@h", UrlError::Database);
        check("postgres://u:secret@/db", UrlError::Host);
        check("postgres://u:secret@h:many/db", UrlError::Malformed);
        check("postgres://u:secret@h/db?colour=blue", UrlError::Malformed);
        check("host=h user=u password=secret dbname=db", UrlError::Malformed);
    }
}
