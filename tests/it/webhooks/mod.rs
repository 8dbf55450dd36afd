//! What is sent to URLs that operators name: jobs of `http` tasks, and events to webhooks. With real receivers, which are away, slow or gone.

mod events;
mod receiver;
mod services;
