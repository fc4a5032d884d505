"""Send what the outbox holds: one SMTP connection per batch, one recipient per mail, the row's id in the Message-ID.

What can go wrong: a mail is lost, or sent twice, or one bad address or one bad login keeps all others from leaving.

The principle: the decision to mail and its row were committed together (runtime/outbox.py), and each answer of the server
commits before the next mail is handed over. Delivery is at least once by SMTP's nature. A worker killed between the
server's acceptance and the commit sends that one mail again, with the same Message-ID, which mail servers and clients fold
into one. A refusal of one mail ends that mail only. A refusal that concerns every mail (server.py) ends the run and counts
for none of them.

The transactions, in their order: reading what is due, a claim for each batch, one for each mail with its finding, putting
back what was not tried.

Read plan, job, sending (what follows each answer), message. `sending.POLICY` says how often a mail is tried and when it is
given up. runtime/deliveries.py has the sequence. The client is hooks/mail.py, which server.py describes.
"""
