//! The command line of `strowger`.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use strowger::node;
use strowger::node::admin::{self, BanCommand, ExtensionCommand, TenantCommand};
use strowger::node::config::{self, Config, ConfigError, Overrides};

/// Strowger, an office telephone exchange.
///
/// Without a command it runs the exchange. The first start makes extensions 1001 to 1004 and shows their passwords once.
/// Ctrl-C lets running calls end and stops; a second Ctrl-C stops at once.
///
/// What an option says goes over the environment variable shown with it, and that over the configuration file. Other keys of
/// the file have neither. STROWGER_SECRET_KEY replaces the file secret.key, RUST_LOG the key log.level.
#[derive(Parser)]
#[command(name = "strowger", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Settings {
    /// The configuration file; without it config/config.yml if there is one, else the defaults.
    #[arg(long, value_name = "FILE", env = "STROWGER_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Where database, journal and secret.key are.
    #[arg(long, value_name = "DIR", env = "STROWGER_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Where phones reach us, as udp:ADDRESS:PORT, tcp:… or tls:…; may be given several times. Port 0 takes a free one.
    #[arg(long, value_name = "LISTENER", env = "STROWGER_SIP_LISTEN", value_delimiter = ',', global = true)]
    sip_listen: Vec<String>,
    /// Where the REST API listens.
    #[arg(long, value_name = "ADDRESS:PORT", env = "STROWGER_HTTP_LISTEN", global = true)]
    http_listen: Option<String>,
    /// UDP ports for audio.
    #[arg(long, value_name = "LOW-HIGH", env = "STROWGER_RTP_PORTS", global = true)]
    rtp_ports: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the exchange (also without a command).
    Run,
    /// Check the configuration and say everything that is wrong with it, also addresses this machine does not have.
    Check,
    /// Ask the running exchange whether all is well (/healthz); fails and says why if not.
    Health,
    /// List, add and remove extensions, and change their passwords.
    Extensions {
        /// Whose extensions.
        #[arg(long, value_name = "NAME", default_value = "default", global = true)]
        tenant: String,
        #[command(subcommand)]
        command: Extensions,
    },
    /// Show and end bans, and ban somebody. A running daemon follows within about a second.
    Bans {
        #[command(subcommand)]
        command: Bans,
    },
    /// List and add tenants: organisations with extensions and SIP domains of their own.
    Tenants {
        #[command(subcommand)]
        command: Tenants,
    },
}

#[derive(Subcommand)]
enum Extensions {
    /// Show all extensions.
    List,
    /// Add an extension; without --password a random one is made and shown once.
    Add {
        number: String,
        /// The name called phones show.
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "")]
        email: String,
        /// At least 8 characters. Other users of this machine may see it in the process list.
        #[arg(long)]
        password: Option<String>,
        /// The extension may not call outside numbers.
        #[arg(long)]
        internal_only: bool,
    },
    /// Give an extension a new password; without --password a random one is made and shown once.
    Passwd {
        number: String,
        #[arg(long)]
        password: Option<String>,
    },
    /// Remove an extension. Its phones are logged out; running calls go on.
    Remove { number: String },
}

#[derive(Subcommand)]
enum Bans {
    /// Show who is banned, until when and why.
    List,
    /// Ban an address (IPv6: its /64), also one a phone is registered from.
    Add {
        source: String,
        /// Ban this user there, and nobody else.
        #[arg(long)]
        user: Option<String>,
        /// How long, seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
        r#for: u32,
    },
    /// End the bans of an address, of one user there, or all.
    #[command(visible_alias = "remove")]
    Clear {
        source: Option<String>,
        /// End the ban of this user alone.
        #[arg(long)]
        user: Option<String>,
    },
}

#[derive(Subcommand)]
enum Tenants {
    /// Show all tenants.
    List,
    /// Add a tenant.
    Add {
        name: String,
        /// A SIP domain of the tenant; may be given several times.
        #[arg(long, value_name = "DOMAIN")]
        domain: Vec<String>,
        /// The digest realm, fixed for the tenant's life; the name if left out.
        #[arg(long)]
        realm: Option<String>,
        /// IANA time zone of the tenant's local times.
        #[arg(long, default_value = "UTC")]
        time_zone: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("strowger: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each cause once: many errors have their cause's words in their own.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let joint = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{joint}{cause}");
        }
    }
    text
}

fn act(cli: Cli) -> Result<ExitCode> {
    let overrides = Overrides {
        data_dir: cli.settings.data_dir,
        sip_listen: cli.settings.sip_listen,
        http_listen: cli.settings.http_listen,
        rtp_ports: cli.settings.rtp_ports,
    };
    let config = match config::load(cli.settings.config.as_deref(), &overrides) {
        Ok(config) => config,
        Err(errors) => return Ok(show(&errors)),
    };
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => return node::run(config),
        Command::Check => {
            let warnings = config::warnings(cli.settings.config.as_deref(), &overrides, &config);
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            println!("The configuration is valid.");
        }
        Command::Health => println!("{}", node::health::ask(config.http.listen)?),
        Command::Extensions { tenant, command } => extensions(&config, &tenant, command)?,
        Command::Bans { command } => bans(&config, command)?,
        Command::Tenants { command } => tenants(&config, command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        eprintln!("{error}");
    }
    let faults = if errors.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", errors.len()) };
    eprintln!("strowger: {faults} in the configuration");
    ExitCode::from(2)
}

fn extensions(config: &Config, tenant: &str, command: Extensions) -> Result<()> {
    let command = match command {
        Extensions::List => ExtensionCommand::List,
        Extensions::Add { number, name, email, password, internal_only } => {
            ExtensionCommand::Add { number, name, email, password, allow_external: !internal_only }
        }
        Extensions::Passwd { number, password } => ExtensionCommand::Passwd { number, password },
        Extensions::Remove { number } => ExtensionCommand::Remove { number },
    };
    admin::extensions(&config.data_dir, tenant, command)
}

fn bans(config: &Config, command: Bans) -> Result<()> {
    let command = match command {
        Bans::List => BanCommand::List,
        Bans::Add { source, user, r#for } => BanCommand::Add { source, user, seconds: r#for },
        Bans::Clear { source, user } => BanCommand::Clear { source, user },
    };
    admin::bans(&config.data_dir, command)
}

fn tenants(config: &Config, command: Tenants) -> Result<()> {
    let command = match command {
        Tenants::List => TenantCommand::List,
        Tenants::Add { name, domain, realm, time_zone } => {
            TenantCommand::Add { name, domains: domain, realm, time_zone }
        }
    };
    admin::tenants(&config.data_dir, command)
}
