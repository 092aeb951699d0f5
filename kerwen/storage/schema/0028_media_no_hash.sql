-- Nothing asks for a file's hash: its name's bytes never change, and what is encrypted is opaque.
alter table media drop column sha256;
