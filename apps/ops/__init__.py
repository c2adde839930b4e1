from apps.ops import beside_the_socket

# Before the settings, and whatever they import, have run.
if beside_the_socket.is_here():
    beside_the_socket.refuse_pickles()
