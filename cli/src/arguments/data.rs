//! Arguments of the commands about hot data and the caches before it.

use clap::{ArgGroup, Args, Subcommand};
use http::HeaderValue;
use protocol::key::{DataKey, MediaType, Tag};

use super::{Service, name};

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Print the value of a key
    Get(DataGet),
    /// Write a value, and return when nobody reads an older one any more
    Put(DataPut),
    /// Delete a key, and return when nobody reads its value any more
    Delete(DataDelete),
}

#[derive(Debug, Args)]
pub(crate) struct DataGet {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data key
    #[arg(value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) key: DataKey,
    /// Answer with this write or a later one: the token that the write printed with --token
    #[arg(long)]
    pub(crate) token: Option<HeaderValue>,
    /// Print the answer as JSON, which says whether it came from a cache
    #[arg(long)]
    pub(crate) json: bool,
}

/// Of every write.
#[derive(Debug, Args)]
pub(crate) struct DataWrite {
    /// Only if the present value has this entity tag; `*`: only if there is one
    #[arg(long, value_name = "ETAG", conflicts_with = "if_none_match")]
    pub(crate) if_match: Option<HeaderValue>,
    /// Only if the present value has another entity tag; `*`: only if there is none
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_none_match: Option<HeaderValue>,
    /// Return as soon as it is on disk; others may read the old value for a moment
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print the token of the write: who reads with it reads this write or a later one
    #[arg(long, conflicts_with = "json")]
    pub(crate) token: bool,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DataPut {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data key
    #[arg(value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) key: DataKey,
    /// The value: JSON, @FILE, or - for standard input
    #[arg(value_name = "VALUE")]
    pub(crate) value: String,
    /// The value is no JSON but bytes of this type, such as text/html; with @FILE or -
    #[arg(long, value_name = "TYPE", value_parser = name::<MediaType>)]
    pub(crate) media_type: Option<MediaType>,
    /// A tag by which it can be invalidated together with others; may be given several times
    #[arg(long = "tag", value_name = "TAG", value_parser = name::<Tag>)]
    pub(crate) tags: Vec<Tag>,
    #[command(flatten)]
    pub(crate) write: DataWrite,
}

#[derive(Debug, Args)]
pub(crate) struct DataDelete {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data key
    #[arg(value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) key: DataKey,
    #[command(flatten)]
    pub(crate) write: DataWrite,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("covered").required(true).args(["keys", "tags", "prefix", "all"])))]
pub(crate) struct Invalidate {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data keys
    #[arg(value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) keys: Vec<DataKey>,
    /// All keys with this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG", value_parser = name::<Tag>)]
    pub(crate) tags: Vec<Tag>,
    /// All keys that begin like that
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// All keys
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not wait until every gateway has heard of it
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data key
    #[arg(value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) key: DataKey,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
